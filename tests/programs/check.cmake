# run(STATUS command...) and expect_output(REGEX), for tests that drive programs.

# Runs a command; its status must be STATUS, or not 0 where that is "any".  `out` is its stdout, `output` both streams.
macro(run status)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE got OUTPUT_VARIABLE out ERROR_VARIABLE err)
  set(output "${out}${err}")
  set(command "${ARGN}")
  if(NOT ("${status}" STREQUAL "any" AND NOT got EQUAL 0) AND NOT "${got}" STREQUAL "${status}")
    message(FATAL_ERROR "${command}\nended with ${got}, expected ${status}:\n${output}")
  endif()
endmacro()

function(expect_output regex)
  if(NOT output MATCHES "${regex}")
    message(FATAL_ERROR "${command}\nsaid\n${output}\nexpected ${regex}")
  endif()
endfunction()
