# cmake -DSNIPPET=file.cpp -DFLAGS=file -DCOMPILER=c++ -P must_fail.cmake
#
# The snippet compiles as it is; with MUST_FAIL defined it does not, and the compiler's words match the regular
# expression of its line "// expected: REGEX".
cmake_minimum_required(VERSION 3.25)

set(compile "${COMPILER}" "@${FLAGS}" -fsyntax-only)

file(STRINGS "${SNIPPET}" lines REGEX "^// expected: .+")
list(LENGTH lines count)
if(NOT count EQUAL 1)
  message(FATAL_ERROR "${SNIPPET}: expected one line '// expected: REGEX', got ${count}")
endif()
string(REGEX REPLACE "^// expected: *" "" expected "${lines}")

execute_process(COMMAND ${compile} "${SNIPPET}" RESULT_VARIABLE status ERROR_VARIABLE words)
if(NOT status EQUAL 0)
  message(FATAL_ERROR "${SNIPPET}: the twin that must compile does not:\n${words}")
endif()

execute_process(COMMAND ${compile} -DMUST_FAIL "${SNIPPET}" RESULT_VARIABLE status ERROR_VARIABLE words)
if(status EQUAL 0)
  message(FATAL_ERROR "${SNIPPET}: compiles with MUST_FAIL")
endif()
if(NOT words MATCHES "${expected}")
  message(FATAL_ERROR "${SNIPPET}: fails for another reason than '${expected}':\n${words}")
endif()
