# lolcats::nccl: lolcats::cuda plus what lolcats/distributed/nccl.cuh needs.  Without NCCL there is no such target.
find_path(LOLCATS_NCCL_INCLUDE_DIR nccl.h HINTS ${CUDAToolkit_INCLUDE_DIRS})
find_library(LOLCATS_NCCL_LIBRARY NAMES nccl libnccl.so.2 HINTS ${CUDAToolkit_LIBRARY_DIR})  # Python's package has the second alone
mark_as_advanced(LOLCATS_NCCL_INCLUDE_DIR LOLCATS_NCCL_LIBRARY)
if(NOT LOLCATS_NCCL_INCLUDE_DIR OR NOT LOLCATS_NCCL_LIBRARY)
  message(STATUS "lolcats: NCCL not found; no training on several GPUs")
  return()
endif()
add_library(lolcats_nccl INTERFACE)
add_library(lolcats::nccl ALIAS lolcats_nccl)
target_link_libraries(lolcats_nccl INTERFACE lolcats::cuda "${LOLCATS_NCCL_LIBRARY}")
target_include_directories(lolcats_nccl SYSTEM INTERFACE "${LOLCATS_NCCL_INCLUDE_DIR}")
target_compile_definitions(lolcats_nccl INTERFACE LOLCATS_WITH_NCCL)
