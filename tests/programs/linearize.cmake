# Drives linearize, generate and evaluate as a user would, on the built-in teacher:
# cmake -DLINEARIZE= -DGENERATE= -DEVALUATE= -DOUT= -P linearize.cmake
cmake_minimum_required(VERSION 3.25)
include("${CMAKE_CURRENT_LIST_DIR}/check.cmake")

file(REMOVE_RECURSE "${OUT}")
set(small --documents 8 --length 192 --transfer-epochs 1 --finetune-epochs 1 --batch 4)

# A folder that is not there yet, every kind of option, and results that can be read.
run(0 "${LINEARIZE}" ${small} --out "${OUT}/a/b" --json "${OUT}/c/results.json" --transfer-schedule cosine --transfer-warmup 1
      --finetune-schedule constant --finetune-decay 0.01 --micro-batch 2 --recompute --block 2 --transfer-keep-last
      --prompt "now lena moro met" --max-tokens 8)
expect_output("finetuned .*now lena moro met.*teacher: .*student: ")
file(READ "${OUT}/c/results.json" json)
foreach(stage teacher swapped transferred finetuned)
  string(JSON perplexity GET "${json}" ${stage} perplexity)
  if(NOT perplexity GREATER 1)
    message(FATAL_ERROR "perplexity of ${stage} is ${perplexity}")
  endif()
endforeach()
string(JSON layers LENGTH "${json}" transfer mse_per_layer)
string(JSON schedule GET "${json}" recipe transfer schedule)
if(NOT layers EQUAL 4 OR NOT schedule STREQUAL "cosine")
  message(FATAL_ERROR "${layers} layers, schedule ${schedule}")
endif()
file(GLOB states "${OUT}/a/b/*.state*" "${OUT}/a/b/*.tmp*" "${OUT}/c/*.t*")
if(states)
  message(FATAL_ERROR "left behind: ${states}")
endif()

# What was written can be used, by itself and by name.
run(0 "${GENERATE}" --checkpoint "${OUT}/a/b" --prompt "now lena" "moro met" --max-tokens 8)
set(both "${out}")
run(0 "${GENERATE}" --checkpoint "${OUT}/a/b" --prompt "now lena" --max-tokens 8)
string(FIND "${both}" "${out}" at)
if(at EQUAL -1)
  message(FATAL_ERROR "a prompt goes on otherwise beside another one:\n${both}\n${out}")
endif()
run(0 "${GENERATE}" --student window-terraced64 --prompt "now lena" --max-tokens 4)

# A prompt beyond the model's context of 512 tokens.
string(REPEAT "now lena moro met nora " 200 long)
run(1 "${GENERATE}" --prompt "${long}" --max-tokens 1)
expect_output("--prompt has [0-9]+ tokens, but .* was trained for a context of 512")
run(0 "${GENERATE}" --prompt "${long}" --max-tokens 1 --any-length --student window-terraced64)

# Mistakes are told at once, by their names, and nothing is written.
run(1 "${LINEARIZE}" ${small} --student hedgehog --out "${OUT}/never")
expect_output("student 'hedgehog' is unknown, expected one of hedgehog8-linear, ")
foreach(wrong "--transfer-epochs;-1" "--seed;-1" "--batch;0" "--finetune-lr;nan" "--documents;0" "--finetune-schedule;linear" "--length;1")
  list(GET wrong 0 option)
  run(any "${LINEARIZE}" ${wrong} --out "${OUT}/never")
  expect_output("${option}")
endforeach()
if(EXISTS "${OUT}/never")
  message(FATAL_ERROR "a refused run made its folder")
endif()
file(WRITE "${OUT}/file" "")
run(1 "${LINEARIZE}" ${small} --out "${OUT}/file/below")
expect_output("file/below: cannot create the folder")
run(1 "${LINEARIZE}" ${small} --out "${OUT}/d" --json "${OUT}/c")
expect_output("c: is a folder, expected the name of a file")
run(1 "${GENERATE}" --model "${OUT}/nothing.gguf" --prompt x)
expect_output("nothing.gguf: ")
run(1 "${GENERATE}" --checkpoint "${OUT}/a/b" --student softmax)
expect_output("--checkpoint says which student")
