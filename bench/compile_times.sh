#!/bin/sh
# compile_times.sh [WORD]: what each student costs the compiler, or those with WORD in their name, as the tables of
# docs/compile_times.md.
#
# Every number is the CPU time of one cold compilation in seconds, without ccache: -O2 for g++ (CXX), nvcc's own -O3 (NVCC, skipped
# where it is not found).  ARCHITECTURE (90a) is compiled for.  EIGEN names Eigen's folder.
set -eu
here=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
: "${CXX:=g++}" "${NVCC:=$(command -v nvcc || true)}" "${ARCHITECTURE:=90a}" "${EIGEN:=/usr/include/eigen3}"
cpu="$CXX -std=c++20 -O2 -DNDEBUG -fopenmp -I$here/include -idirafter $EIGEN"
gpu="$NVCC -std=c++20 --expt-relaxed-constexpr -diag-suppress=20208 -DFMT_USE_CONSTEXPR=1 -DEIGEN_NO_CUDA -DNDEBUG -Xcompiler=-fopenmp
     --generate-code=arch=compute_$ARCHITECTURE,code=sm_$ARCHITECTURE -I$here/include -isystem=$EIGEN"

# measure COMMAND...: the user and system time that the command and all below it take.
measure() {
  sh -c '"$@" >log 2>&1 || { cat log >&2; exit 1; }; times' sh "$@" |
    awk 'NR == 2 { split($1, u, /[ms]/); split($2, s, /[ms]/); printf "%.0f", 60 * (u[1] + s[1]) + u[2] + s[2] }'
}

student() {  # student BACKEND ATTENTION ADAPTER: the unit of lolcats_students
  printf '#include "%s/cmake/student.hpp"\nusing Student = lolcats::Llama<lolcats::%s, %s, %s>;\nLOLCATS_STUDENT(template, Student)\n' "$here" "$1" "$2" "$3"
}

precompiling=$(measure $cpu -DLOLCATS_COMPILED_KERNELS -x c++-header "$here/cmake/compiled.hpp" -o compiled.hpp.gch)
if [ -z "${1:-}" ]; then
  echo "| once for a project | s |"
  echo "|---|---:|"
  echo "| \`lolcats::kernels\` | $(( $(measure $cpu -O3 -c "$here/cmake/compiled_kernels.cpp" -o a.o) + $(measure $cpu -c "$here/cmake/compiled.cpp" -o b.o) )) |"
  echo "| precompiled \`cmake/compiled.hpp\` | $precompiling |"
  if [ -n "$NVCC" ]; then
    echo "| \`lolcats::cuda_kernels\` | $(measure $gpu -DLOLCATS_COMPILED_KERNELS -c "$here/cmake/compiled.cu" -o k.o) |"
  fi
  printf '#include <lolcats/core.hpp>\n' >core.cpp
  echo "| \`lolcats/core.hpp\`, only read | $(measure $cpu -c core.cpp -o c.o), $(measure $cpu -DLOLCATS_COMPILED_KERNELS -c core.cpp -o c.o) with \`lolcats::kernels\` |"
  printf '#include <lolcats/lolcats.hpp>\n' >all.cpp
  echo "| \`lolcats/lolcats.hpp\`, only read | $(measure $cpu -DLOLCATS_WITH_PCRE2 -DLOLCATS_WITH_UTF8PROC -c all.cpp -o d.o) |"
fi
echo
echo "| student, \`Lora<8>\` | headers alone | with \`lolcats::kernels\` | and headers precompiled | CUDA, bf16 | with \`lolcats::cuda_kernels\` |"
echo "|---|---:|---:|---:|---:|---:|"
while IFS='|' read -r name attention; do
  case "$name" in *"${1:-}"*) ;; *) continue ;; esac
  student "Cpu<float>" "$attention" "lolcats::Lora<8>" >cpu.cpp
  alone=$(measure $cpu -c cpu.cpp -o e.o)
  kernels=$(measure $cpu -DLOLCATS_COMPILED_KERNELS -c cpu.cpp -o f.o)
  precompiled=$(measure $cpu -DLOLCATS_COMPILED_KERNELS -include compiled.hpp -c cpu.cpp -o g.o)
  cuda= cuda_kernels=
  if [ -n "$NVCC" ]; then
    student "Cuda<lolcats::bf16>" "$attention" "lolcats::Lora<8>" >gpu.cu
    cuda=$(measure $gpu -c gpu.cu -o h.o)
    cuda_kernels=$(measure $gpu -DLOLCATS_COMPILED_KERNELS -DLOLCATS_COMPILED_CUDA_KERNELS -c gpu.cu -o i.o)
  fi
  echo "| \`$name\` | $alone | $kernels | $precompiled | $cuda | $cuda_kernels |"
done <<'STUDENTS'
Hybrid<Hedgehog<64>, Terraced<64>>|lolcats::Hybrid<lolcats::Hedgehog<64>, lolcats::Terraced<64>>
Hybrid<T2R<128>, Sliding<64>>|lolcats::Hybrid<lolcats::T2R<128>, lolcats::Sliding<64>>
Linear<Hedgehog<64>>|lolcats::Linear<lolcats::Hedgehog<64>>
Hybrid<Hedgehog<64>, Sinks<4, Terraced<64>>, Decay<HeadGate>>|lolcats::Hybrid<lolcats::Hedgehog<64>, lolcats::Sinks<4, lolcats::Terraced<64>>, lolcats::Decay<lolcats::HeadGate>>
STUDENTS
