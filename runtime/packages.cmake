# packages.cmake: Debian packages by CPack: cmake --build build && cpack --config build/CPackConfig.cmake -G DEB
#   libtenon-rt      libtenon_rt.so: runs plans
#   libtenon         libtenon.so, and libtenon_ort.so for ONNX Runtime
#   libtriton-tenon  libtriton_tenon.so for Triton Inference Server
#   libtenon-dev     headers, static libraries, CMake and pkg-config files
#   tenon            the command, its manuals and completions
set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME tenon)
set(CPACK_PACKAGE_VENDOR Tenon)
set(CPACK_PACKAGE_VERSION ${PROJECT_VERSION})
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_COMPONENTS_ALL rt lib triton dev cli)
set(CPACK_STRIP_FILES ON)
set(TENON_MAINTAINER "Tenon's authors <tenon@users.noreply.github.com>" CACHE STRING "Who stands for the Debian packages")
set(CPACK_DEBIAN_PACKAGE_MAINTAINER ${TENON_MAINTAINER})
set(CPACK_DEBIAN_PACKAGE_GENERATE_SHLIBS ON)
set(CPACK_DEBIAN_PACKAGE_GENERATE_SHLIBS_POLICY ">=")
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS_PRIVATE_DIRS ${PROJECT_BINARY_DIR}) # libtenon needs libtenon_rt, which is no package yet
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
set(CPACK_INSTALL_DEFAULT_DIRECTORY_PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ
  WORLD_EXECUTE)
set(CPACK_DEBIAN_RT_PACKAGE_NAME libtenon-rt)
set(CPACK_DEBIAN_RT_PACKAGE_SECTION libs)
set(CPACK_DEBIAN_LIB_PACKAGE_NAME libtenon)
set(CPACK_DEBIAN_LIB_PACKAGE_SECTION libs)
set(CPACK_DEBIAN_TRITON_PACKAGE_NAME libtriton-tenon)
set(CPACK_DEBIAN_TRITON_PACKAGE_SECTION libs)
set(CPACK_DEBIAN_DEV_PACKAGE_NAME libtenon-dev)
set(CPACK_DEBIAN_DEV_PACKAGE_SECTION libdevel)
set(CPACK_DEBIAN_CLI_PACKAGE_NAME tenon)
set(CPACK_DEBIAN_CLI_PACKAGE_SECTION science)
set(CPACK_DEBIAN_RT_DESCRIPTION "Run neural networks that Tenon compiled
A small library that loads plans, which hold tuned CUDA kernels, weights and a
schedule, and runs them on an NVIDIA GPU.")
set(CPACK_DEBIAN_LIB_DESCRIPTION "Compile neural networks into CUDA kernels
Reads ONNX and Caffe models, rewrites them, generates CUDA source, and keeps
what was fastest in a plan. Also an execution provider of ONNX Runtime.")
set(CPACK_DEBIAN_TRITON_DESCRIPTION "Serve neural networks that Tenon compiled with Triton
A backend of Triton Inference Server, which serves plans from a model
repository, on GPUs and (with libtenon) on the CPU.")
set(CPACK_DEBIAN_DEV_DESCRIPTION "Develop with Tenon's libraries
Headers for C and C++, static libraries, and files for CMake and pkg-config.")
set(CPACK_DEBIAN_CLI_DESCRIPTION "Compile, run and time neural networks
The command tenon: models become plans, which it runs, checks, times and shows
down to the source of each kernel.")
set(CPACK_DEBIAN_LIB_PACKAGE_DEPENDS "libtenon-rt (= ${PROJECT_VERSION})")
set(CPACK_DEBIAN_TRITON_PACKAGE_DEPENDS "libtenon-rt (= ${PROJECT_VERSION})")
set(CPACK_DEBIAN_TRITON_PACKAGE_SUGGESTS "libtenon (= ${PROJECT_VERSION})")
set(CPACK_DEBIAN_DEV_PACKAGE_DEPENDS "libtenon (= ${PROJECT_VERSION}), libtenon-rt (= ${PROJECT_VERSION}), libprotobuf-c-dev, libxxhash-dev, libopenblas-dev")

# What every package must say of itself
string(TIMESTAMP packaged "%a, %d %b %Y %H:%M:%S +0000" UTC)
foreach(component RT LIB TRITON DEV CLI)
  string(TOLOWER ${component} name)
  set(package ${CPACK_DEBIAN_${component}_PACKAGE_NAME})
  set(doc ${PROJECT_BINARY_DIR}/doc/${package})
  file(WRITE ${doc}/copyright "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: Tenon

Files: *
Copyright: 2026 The Tenon authors
License: Apache-2.0
 On Debian systems, the full text of the Apache License 2.0 is in
 /usr/share/common-licenses/Apache-2.0.
")
  file(WRITE ${doc}/changelog "${package} (${PROJECT_VERSION}) stable; urgency=low

  * Version ${PROJECT_VERSION}.

 -- ${CPACK_DEBIAN_PACKAGE_MAINTAINER}  ${packaged}
")
  execute_process(COMMAND gzip -9nf ${doc}/changelog)
  install(FILES ${doc}/copyright ${doc}/changelog.gz DESTINATION share/doc/${package} COMPONENT ${name})
endforeach()
# The shared libraries' users find them without ldconfig having been called by hand
foreach(component RT LIB)
  set(control ${PROJECT_BINARY_DIR}/doc/${CPACK_DEBIAN_${component}_PACKAGE_NAME}.control)
  file(WRITE ${control}/triggers "activate-noawait ldconfig\n")
  set(CPACK_DEBIAN_${component}_PACKAGE_CONTROL_EXTRA ${control}/triggers)
endforeach()
include(CPack)
