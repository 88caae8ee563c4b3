# cmake -DWAY=installed|subdirectory -DSOURCE= -DBUILD= -DWORK= -DCOMPILER= -DGENERATOR= -DPREFIX_PATH= -DOPTIMIZATION=
#       -DLAUNCHER= -P downstream.cmake
#
# Builds and runs tests/downstream, a project of its own, against an installed copy or with lolcats as a subdirectory, which
# FetchContent adds.
cmake_minimum_required(VERSION 3.25)

file(REMOVE_RECURSE "${WORK}")

function(run)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE status OUTPUT_VARIABLE words ERROR_VARIABLE words)
  if(NOT status EQUAL 0)
    message(FATAL_ERROR "failed: ${ARGN}\n${words}")
  endif()
  message("${words}")
endfunction()

if(WAY STREQUAL "installed")
  find_program(DPKG_DEB dpkg-deb)
  if(DPKG_DEB)  # the Debian package has what an installation has
    run("${CMAKE_CPACK_COMMAND}" -G DEB --config "${BUILD}/CPackConfig.cmake" -B "${WORK}/package")
    file(GLOB package "${WORK}/package/*.deb")
    run("${DPKG_DEB}" -x "${package}" "${WORK}/prefix")
    list(PREPEND PREFIX_PATH "${WORK}/prefix/usr")
  else()
    run("${CMAKE_COMMAND}" --install "${BUILD}" --prefix "${WORK}/prefix")
    list(PREPEND PREFIX_PATH "${WORK}/prefix")
  endif()
  set(where -DDOWNSTREAM_SUBDIRECTORY=)
elseif(WAY STREQUAL "subdirectory")
  set(where "-DDOWNSTREAM_SUBDIRECTORY=${SOURCE}")
else()
  message(FATAL_ERROR "WAY is '${WAY}', expected installed or subdirectory")
endif()

list(JOIN PREFIX_PATH ":" path)
set(ENV{CMAKE_PREFIX_PATH} "${path}")
run("${CMAKE_COMMAND}" -S "${SOURCE}/tests/downstream" -B "${WORK}/build" -G "${GENERATOR}" "${where}"
    "-DCMAKE_CXX_COMPILER=${COMPILER}" -DDOWNSTREAM_QUICK=ON "-DCMAKE_CXX_FLAGS=${OPTIMIZATION}" "-DCMAKE_CXX_COMPILER_LAUNCHER=${LAUNCHER}")
run("${CMAKE_COMMAND}" --build "${WORK}/build")
run("${CMAKE_CTEST_COMMAND}" --test-dir "${WORK}/build" --output-on-failure --no-tests=error)
