// Readers of benchmarks: PIQA, ARC, HellaSwag, WinoGrande (by the first byte) and MMLU, and prompts of what they return.
#include <lolcats/eval/tasks/commonsense.hpp>
#include <lolcats/eval/tasks/mmlu.hpp>
#include <lolcats/eval/tasks/prompts.hpp>

#include "scratch.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  static const std::filesystem::path path = fuzz::scratch_folder() / "task.jsonl";
  fuzz::write(path, std::string_view(reinterpret_cast<const char*>(data) + 1, size - 1));
  try {
    lolcats::Benchmark task;
    switch (data[0] % 5) {
      case 0: task.questions = lolcats::read_piqa(path); break;
      case 1: task.questions = lolcats::read_arc(path); break;
      case 2: task.questions = lolcats::read_hellaswag(path); break;
      case 3: task.questions = lolcats::read_winogrande(path); break;
      default: task.questions = lolcats::read_mmlu(path); break;
    }
    task.shots = task.questions;
    for (const auto& question : lolcats::make_prompts(task, lolcats::harness_2023, task.questions.size() > 2 ? 1 : 0)) {
      for (const std::string& choice : question.question.choices) {
        if (lolcats::python::length(choice) > static_cast<lolcats::Index>(choice.size())) std::abort();
      }
      if (question.question.answer >= static_cast<lolcats::Index>(question.prompts.size())) std::abort();
    }
  } catch (const lolcats::Error&) {  // what a reader may say
  }
  return 0;
}
