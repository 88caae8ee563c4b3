# Packages without a CMake config of their own, for this build and for installed copies.

# Makes the imported target lolcats_packages::<name> of a header and a library, if both are found.  Where the prefix holds
# the link to a shared library but not the library (an unpacked -dev package), the static archive is taken.
function(lolcats_find_library name header library)
  if(TARGET lolcats_packages::${name})
    return()
  endif()
  string(TOUPPER "${name}" upper)
  find_path(LOLCATS_${upper}_INCLUDE_DIR "${header}")
  find_library(LOLCATS_${upper}_LIBRARY NAMES "${library}")
  mark_as_advanced(LOLCATS_${upper}_INCLUDE_DIR LOLCATS_${upper}_LIBRARY)
  if(LOLCATS_${upper}_INCLUDE_DIR AND LOLCATS_${upper}_LIBRARY)
    add_library(lolcats_packages::${name} INTERFACE IMPORTED)
    set_target_properties(lolcats_packages::${name} PROPERTIES
                          INTERFACE_INCLUDE_DIRECTORIES "${LOLCATS_${upper}_INCLUDE_DIR}"
                          INTERFACE_LINK_LIBRARIES "${LOLCATS_${upper}_LIBRARY}")
  endif()
endfunction()

macro(lolcats_find_pcre2)
  lolcats_find_library(pcre2 pcre2.h pcre2-8)
endmacro()
macro(lolcats_find_utf8proc)
  lolcats_find_library(utf8proc utf8proc.h utf8proc)
endmacro()
macro(lolcats_find_sentencepiece)
  lolcats_find_library(sentencepiece sentencepiece_processor.h sentencepiece)
endmacro()
