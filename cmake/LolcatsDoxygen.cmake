# The target `doxygen`, where that program is found: pages from the docstrings, in BUILD/doxygen/html.  A warning is an error.
find_program(LOLCATS_DOXYGEN doxygen)
mark_as_advanced(LOLCATS_DOXYGEN)
if(NOT LOLCATS_DOXYGEN)
  return()
endif()
file(READ "${PROJECT_SOURCE_DIR}/docs/Doxyfile" settings)
file(CONFIGURE OUTPUT doxygen/Doxyfile CONTENT "${settings}OUTPUT_DIRECTORY = \"${PROJECT_BINARY_DIR}/doxygen\"\n" @ONLY)
add_custom_target(doxygen COMMAND "${LOLCATS_DOXYGEN}" "${PROJECT_BINARY_DIR}/doxygen/Doxyfile"
                  WORKING_DIRECTORY "${PROJECT_SOURCE_DIR}" USES_TERMINAL VERBATIM COMMENT "Pages from the docstrings")
if(LOLCATS_BUILD_TESTS)
  add_test(NAME library/doxygen COMMAND "${LOLCATS_DOXYGEN}" "${PROJECT_BINARY_DIR}/doxygen/Doxyfile"
           WORKING_DIRECTORY "${PROJECT_SOURCE_DIR}")
endif()
