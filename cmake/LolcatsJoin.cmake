# Programs of the same headers and instances, compiled together: half of the time of each by itself.
option(LOLCATS_JOIN_PROGRAMS "Compile the example programs together; each is a link to one file that has several" OFF)

set(LOLCATS_JOINED 4)  # programs or students of a unit: more need more memory than they save time

# lolcats_join_programs(JOINED source...): an executable of all sources, each of which has a main of its own, and beside it
# a link NAME for every NAME.cpp, which runs that one; NAME is a target, too, for $<TARGET_FILE:NAME>.  A source gets a
# namespace of its own behind what it includes, so it may define nothing in namespaces of others.
function(lolcats_join_programs joined)
  set(folder "${CMAKE_CURRENT_BINARY_DIR}/joined")
  set(units)
  set(declarations)
  set(choices)
  set(links)
  while(ARGN)
    list(LENGTH units number)
    list(SUBLIST ARGN 0 ${LOLCATS_JOINED} sources)
    list(REMOVE_ITEM ARGN ${sources})
    set(includes)
    set(texts)
    foreach(source IN LISTS sources)
      get_filename_component(name "${source}" NAME_WE)
      get_filename_component(path "${source}" DIRECTORY)
      file(STRINGS "${source}" found REGEX "^#include ")
      list(TRANSFORM found REPLACE "\"(.*)\"" "\"${path}/\\1\"")
      list(APPEND includes ${found})
      string(APPEND texts "namespace program_${name} {\n#include \"${source}\"\n}\n")
      string(APPEND declarations "namespace program_${name} {\nint main(int, char**);\n}\n")
      string(APPEND choices "  if (name == \"${name}\") return program_${name}::main(argc, argv);\n")
      list(APPEND links COMMAND "${CMAKE_COMMAND}" -E create_symlink ${joined} ${name})
      add_executable(${name} IMPORTED GLOBAL)
      set_target_properties(${name} PROPERTIES IMPORTED_LOCATION "${CMAKE_CURRENT_BINARY_DIR}/${name}")
      add_dependencies(${name} ${joined})
    endforeach()
    list(REMOVE_DUPLICATES includes)
    list(JOIN includes "\n" includes)
    set(unit "${folder}/${joined}_${number}.cpp")
    file(CONFIGURE OUTPUT "${unit}" CONTENT "${includes}\n\n${texts}")
    list(APPEND units "${unit}")
  endwhile()
  file(CONFIGURE OUTPUT "${folder}/${joined}.cpp" CONTENT "#include <cstdio>\n#include <string_view>\n
${declarations}
int main(int argc, char** argv) {
  std::string_view name = argv[0];
  name.remove_prefix(name.rfind('/') + 1);
${choices}  std::fprintf(stderr, \"${joined}: to be called by the name of one of its programs\\n\");
  return 2;
}
")
  set_source_files_properties("${folder}/${joined}.cpp" PROPERTIES SKIP_PRECOMPILE_HEADERS ON)
  add_executable(${joined} ${units} "${folder}/${joined}.cpp")
  add_custom_command(TARGET ${joined} POST_BUILD ${links} WORKING_DIRECTORY "${CMAKE_CURRENT_BINARY_DIR}" VERBATIM)
endfunction()
