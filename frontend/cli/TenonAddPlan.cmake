# tenon_add_plan(NAME MODEL [WEIGHTS NET.caffemodel] [TARGETS sm_80 sm_90a ...] [PRECISION fp32|tf32|fp16|bf16] [SHAPES name=1x3x224x224|name=1..32x128:8x128 ...] [ALIASES input=output ...] [PLUGINS FILE ...] [OPTIONS ...])
#
# Compiles MODEL into NAME.plan at build time and defines the static library NAME: link it, include "NAME.h" and call
# NAME_plan() and NAME_run().  With TARGETS no GPU is needed (the cost model chooses; `tenon tune` finishes a plan on a
# device); without TARGETS the plan is tuned on this machine's GPU.
#
# WEIGHTS are those of a Caffe net, whose MODEL is its .prototxt.
# SHAPES are those of `tenon compile --shape`: sizes, ranges with typical sizes, and several of one input as buckets.
# ALIASES are those of `tenon compile --alias`: outputs that grow in inputs' buffers, as in "past_key_values.*=present.*".
# PLUGINS are files that declare ops of your own, as `tenon compile --plugin` takes them; the plan needs none of them.
# The plan is compiled again when the model, a file of its weights or a plugin changes.  A MODEL that the build itself makes must be
# known as GENERATED before this call.  A project needs C or C++.
cmake_policy(PUSH)
cmake_policy(VERSION 3.21)

function(tenon_add_plan name model)
  cmake_parse_arguments(PARSE_ARGV 2 arg "" "PRECISION;WEIGHTS" "TARGETS;SHAPES;ALIASES;PLUGINS;OPTIONS")
  if(arg_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "tenon_add_plan(${name}): unknown arguments ${arg_UNPARSED_ARGUMENTS}")
  endif()
  if(NOT name MATCHES "^[A-Za-z_][A-Za-z0-9_]*$" OR name MATCHES "^tn(_|$)")
    message(FATAL_ERROR "tenon_add_plan(${name}): the name must be a C identifier that does not begin with tn_")
  endif()
  get_filename_component(model "${model}" ABSOLUTE)
  get_source_file_property(generated "${model}" GENERATED)
  if(NOT generated AND (NOT EXISTS "${model}" OR IS_DIRECTORY "${model}"))
    message(FATAL_ERROR "tenon_add_plan(${name}): there is no model ${model}")
  endif()

  set(dir "${CMAKE_CURRENT_BINARY_DIR}/${name}_plan")
  set(plan "${dir}/${name}.plan")
  set(source "${dir}/${name}.c")
  set(options ${arg_OPTIONS})
  if(arg_TARGETS)
    list(JOIN arg_TARGETS "," targets)
    list(APPEND options --no-gpu --target ${targets})
  endif()
  if(arg_WEIGHTS)
    get_filename_component(weights "${arg_WEIGHTS}" ABSOLUTE)
    list(APPEND options --weights "${weights}")
  endif()
  if(arg_PRECISION)
    list(APPEND options --precision ${arg_PRECISION})
  endif()
  foreach(shape ${arg_SHAPES})
    list(APPEND options --shape ${shape})
  endforeach()
  foreach(alias ${arg_ALIASES})
    list(APPEND options --alias ${alias})
  endforeach()
  foreach(plugin ${arg_PLUGINS})
    get_filename_component(plugin "${plugin}" ABSOLUTE)
    list(APPEND options --plugin "${plugin}")
  endforeach()
  file(MAKE_DIRECTORY "${dir}")
  add_custom_command(
    OUTPUT "${plan}" "${source}" "${dir}/${name}.h"
    COMMAND Tenon::tenon_cli compile "${model}" -o "${plan}" --emit-c "${dir}/${name}" --depfile "${plan}.d" ${options}
    DEPENDS "${model}" Tenon::tenon_cli
    DEPFILE "${plan}.d"
    COMMENT "Compiling ${model} with tenon"
    VERBATIM)
  add_library(${name} STATIC "${source}")
  if(NOT CMAKE_C_COMPILER_LOADED) # the source is C++ as well
    set_source_files_properties("${source}" PROPERTIES LANGUAGE CXX)
  endif()
  set_source_files_properties("${source}" PROPERTIES OBJECT_DEPENDS "${plan}")
  target_compile_options(${name} PRIVATE -w) # the project's warnings are about its own sources
  target_include_directories(${name} PUBLIC "${dir}")
  target_link_libraries(${name} PUBLIC Tenon::tenon_rt)
endfunction()

cmake_policy(POP)
