# lolcats::kernels: lolcats::lolcats, and what does not depend on a student, compiled once instead of in every unit.
#
# It is compiled in the project that links it and with that project's options, because Eigen aligns its types as -march says
# and all units of a program must agree.  Who does not link it does not build it.
include_guard(GLOBAL)

add_library(lolcats_kernels STATIC EXCLUDE_FROM_ALL "${CMAKE_CURRENT_LIST_DIR}/compiled_kernels.cpp")
add_library(lolcats::kernels ALIAS lolcats_kernels)
if(LOLCATS_WITH_JSON)
  target_sources(lolcats_kernels PRIVATE "${CMAKE_CURRENT_LIST_DIR}/compiled.cpp")
endif()
target_link_libraries(lolcats_kernels PUBLIC lolcats::lolcats)
target_compile_definitions(lolcats_kernels INTERFACE LOLCATS_COMPILED_KERNELS)
set_source_files_properties("${CMAKE_CURRENT_LIST_DIR}/compiled_kernels.cpp" PROPERTIES COMPILE_OPTIONS -O3)

# lolcats_students(TARGET HEADER file [CUDA] student...): what takes long to compile about each student, in a unit of its own.
#
# `file` declares the students, each by a name without template arguments (mine::Student): Llama with maps and an adapter,
# whatever the backend; CUDA makes the units *.cu, for which TARGET links lolcats::cuda_kernels.  The other units of TARGET include <TARGET_students.hpp> and call convert, explain,
# transfer_attention, finetune, perplexity and generate as ever: these are compiled there no more.
set(LOLCATS_CMAKE_DIR "${CMAKE_CURRENT_LIST_DIR}" CACHE INTERNAL "")
function(lolcats_students target)
  cmake_parse_arguments(PARSE_ARGV 1 given "CUDA" "HEADER" "")
  if(NOT given_HEADER OR NOT given_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "lolcats_students(${target}): expected HEADER, a file, and the names of students")
  endif()
  get_filename_component(header "${given_HEADER}" ABSOLUTE)
  set(folder "${CMAKE_CURRENT_BINARY_DIR}/${target}_students")
  set(includes "#include \"${LOLCATS_CMAKE_DIR}/student.hpp\"\n#include \"${header}\"\n")
  set(declared)
  foreach(student IN LISTS given_UNPARSED_ARGUMENTS)
    string(REGEX REPLACE "[^A-Za-z0-9]+" "_" name "${student}")
    set(unit "${folder}/${name}.cpp")
    if(given_CUDA)
      set(unit "${folder}/${name}.cu")
    endif()
    file(CONFIGURE OUTPUT "${unit}" CONTENT "${includes}LOLCATS_STUDENT(template, ${student})\n" @ONLY)
    target_sources(${target} PRIVATE "${unit}")
    string(APPEND declared "LOLCATS_STUDENT(extern template, ${student})\n")
  endforeach()
  file(CONFIGURE OUTPUT "${folder}/${target}_students.hpp" CONTENT "#pragma once\n\n${includes}${declared}" @ONLY)
  target_include_directories(${target} PRIVATE "${folder}")
endfunction()
