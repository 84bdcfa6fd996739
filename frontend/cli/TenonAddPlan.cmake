# tenon_add_plan(NAME MODEL [TARGETS sm_80 sm_90a ...] [PRECISION fp32|tf32|fp16|bf16] [SHAPES name=1x3x224x224 ...] [OPTIONS ...])
#
# Compiles MODEL into NAME.plan at build time and defines the static library NAME: link it, include "NAME.h" and call
# NAME_plan() and NAME_run().  With TARGETS no GPU is needed (the cost model chooses; `tenon tune` finishes a plan on a
# device); without TARGETS the plan is tuned on this machine's GPU.
function(tenon_add_plan name model)
  cmake_parse_arguments(arg "" "PRECISION" "TARGETS;SHAPES;OPTIONS" ${ARGN})
  if(arg_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "tenon_add_plan(${name}): unknown arguments ${arg_UNPARSED_ARGUMENTS}")
  endif()
  get_filename_component(model ${model} ABSOLUTE)
  set(dir ${CMAKE_CURRENT_BINARY_DIR}/${name}_plan)
  set(options ${arg_OPTIONS})
  if(arg_TARGETS)
    list(JOIN arg_TARGETS "," targets)
    list(APPEND options --no-gpu --target ${targets})
  endif()
  if(arg_PRECISION)
    list(APPEND options --precision ${arg_PRECISION})
  endif()
  foreach(shape ${arg_SHAPES})
    list(APPEND options --shape ${shape})
  endforeach()
  file(MAKE_DIRECTORY ${dir})
  add_custom_command(
    OUTPUT ${dir}/${name}.plan ${dir}/${name}.c ${dir}/${name}.h
    COMMAND Tenon::tenon_cli compile ${model} -o ${dir}/${name}.plan --emit-c ${dir}/${name} ${options}
    DEPENDS ${model} Tenon::tenon_cli
    COMMENT "Compiling ${model} with tenon"
    VERBATIM)
  add_library(${name} STATIC ${dir}/${name}.c)
  set_source_files_properties(${dir}/${name}.c PROPERTIES OBJECT_DEPENDS ${dir}/${name}.plan)
  target_include_directories(${name} PUBLIC ${dir})
  target_link_libraries(${name} PUBLIC Tenon::tenon_rt)
endfunction()
