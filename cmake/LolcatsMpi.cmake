# lolcats::mpi: lolcats::lolcats plus what lolcats/distributed/mpi.hpp needs.  Without MPI there is no such target.
set(MPI_CXX_SKIP_MPICXX ON)  # its C++ bindings are not used
find_package(MPI QUIET COMPONENTS CXX)
if(NOT TARGET MPI::MPI_CXX)
  message(STATUS "lolcats: MPI not found; no training on several processes of the CPU")
  return()
endif()
add_library(lolcats_mpi INTERFACE)
add_library(lolcats::mpi ALIAS lolcats_mpi)
target_link_libraries(lolcats_mpi INTERFACE lolcats::lolcats MPI::MPI_CXX)
target_compile_definitions(lolcats_mpi INTERFACE LOLCATS_WITH_MPI)
