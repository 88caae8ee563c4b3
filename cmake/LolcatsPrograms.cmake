# lolcats_programs: what our own tests, examples and benchmarks compile and link with.  Never exported.
set(CMAKE_CXX_EXTENSIONS OFF)

if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "Kind of build" FORCE)
endif()

find_program(LOLCATS_CCACHE ccache)
if(LOLCATS_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  # The sloppiness is what ccache asks for when there are precompiled headers.
  set(CMAKE_CXX_COMPILER_LAUNCHER "${CMAKE_COMMAND}" -E env
      "CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime" "${LOLCATS_CCACHE}")
endif()

add_library(lolcats_programs INTERFACE)
target_link_libraries(lolcats_programs INTERFACE lolcats::lolcats)
target_compile_definitions(lolcats_programs INTERFACE "LOLCATS_SOURCE_DIR=\"${PROJECT_SOURCE_DIR}\"")
target_compile_options(lolcats_programs INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-Wall;-Wextra;-Wshadow>)
if(LOLCATS_WERROR)
  target_compile_options(lolcats_programs INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-Werror>)
endif()
if(LOLCATS_NATIVE)
  target_compile_options(lolcats_programs INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-march=native>)
endif()
if(LOLCATS_SANITIZE)
  set(sanitize -fsanitize=${LOLCATS_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  target_compile_options(lolcats_programs INTERFACE "$<$<COMPILE_LANGUAGE:CXX>:${sanitize}>")
  target_link_options(lolcats_programs INTERFACE -fsanitize=${LOLCATS_SANITIZE})
endif()

find_package(CLI11 QUIET)

# Each NAME.cpp of the current folder is a program <prefix>NAME.  One that includes CLI11 is built where that is found.
function(lolcats_add_programs prefix)
  file(GLOB sources CONFIGURE_DEPENDS *.cpp)
  foreach(source IN LISTS sources)
    get_filename_component(name "${source}" NAME_WE)
    file(STRINGS "${source}" parses_options REGEX "^#include <CLI/")
    if(parses_options AND NOT TARGET CLI11::CLI11)
      message(STATUS "lolcats: CLI11 not found; no program ${prefix}${name}")
      continue()
    endif()
    add_executable(${prefix}${name} "${source}")
    target_link_libraries(${prefix}${name} PRIVATE lolcats_programs $<TARGET_NAME_IF_EXISTS:CLI11::CLI11>)
  endforeach()
endfunction()
