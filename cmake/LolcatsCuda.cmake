# lolcats::cuda: lolcats::lolcats plus what .cu files need.  A machine without nvcc has no such target.
include(CheckLanguage)
check_language(CUDA)
if(NOT CMAKE_CUDA_COMPILER)
  message(STATUS "lolcats: nvcc not found; no CUDA targets")
  return()
endif()

if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
  set(CMAKE_CUDA_ARCHITECTURES 90a-real)  # wgmma, TMA and setmaxnreg are in 90a only
endif()
enable_language(CUDA)
find_package(CUDAToolkit REQUIRED)

add_library(lolcats_cuda INTERFACE)
add_library(lolcats::cuda ALIAS lolcats_cuda)
target_link_libraries(lolcats_cuda INTERFACE lolcats::lolcats CUDA::cudart CUDA::cublasLt)
# CMake 3.25 drops CMAKE_CUDA_STANDARD 20 for nvcc 13, so the option is given by hand.  Device code calls the policies'
# constexpr functions.  It has no long double, and fmt mentions one: 20208 says so in every unit.
target_compile_options(lolcats_cuda INTERFACE "$<$<COMPILE_LANGUAGE:CUDA>:-std=c++20;--expt-relaxed-constexpr;-diag-suppress=20208>")
# fmt 9 does not compile under nvcc without the first, Eigen 3.4 not without the second.
target_compile_definitions(lolcats_cuda INTERFACE $<$<COMPILE_LANGUAGE:CUDA>:FMT_USE_CONSTEXPR=1>
                                                  $<$<COMPILE_LANGUAGE:CUDA>:EIGEN_NO_CUDA>)
# Units of both languages in one program see the same parallel_for.
if(LOLCATS_WITH_OPENMP)
  foreach(flag IN LISTS OpenMP_CXX_FLAGS)
    target_compile_options(lolcats_cuda INTERFACE $<$<COMPILE_LANGUAGE:CUDA>:-Xcompiler=${flag}>)
  endforeach()
endif()

# lolcats::cuda_kernels: for .cu units what lolcats::kernels is for .cpp units.  Compiled where it is linked, for bf16 and float.
add_library(lolcats_cuda_kernels STATIC EXCLUDE_FROM_ALL "${CMAKE_CURRENT_LIST_DIR}/compiled.cu")
add_library(lolcats::cuda_kernels ALIAS lolcats_cuda_kernels)
target_link_libraries(lolcats_cuda_kernels PUBLIC lolcats_cuda lolcats_kernels)
target_compile_definitions(lolcats_cuda_kernels INTERFACE LOLCATS_COMPILED_CUDA_KERNELS)
