// linearize<Entry>, for the units that instantiate it.
#pragma once

#include "linearize.hpp"

namespace examples {

template <class Entry>
Report linearize(Job& job) {
  using Student = typename Entry::template Model<Device>;
  const Options& options = job.options;
  const std::filesystem::path out = options.out;
  const auto state_file = [&](const char* name) { return out.empty() ? std::filesystem::path{} : out / name; };
  Report report;
  auto& json = report.json;
  const auto measured = [&](const char* name, auto& model) {
    report.stages.push_back(measure(name, model, job));
    json[name]["perplexity"] = report.stages.back().perplexity.perplexity;
    json[name]["mean_of_sequences"] = report.stages.back().perplexity.mean_of_sequences;
    for (const auto& bin : report.stages.back().recall.bins) json[name]["recall"].push_back({{"from", bin.first}, {"accuracy", bin.accuracy()}});
    fmt::print(stderr, "{}: perplexity {:.4f}\n", name, report.stages.back().perplexity.perplexity);
  };

  json["teacher"]["name"] = Teacher::name();
  json["student"] = Entry::name;
  json["student_type"] = Student::name();
  measured("teacher", job.teacher);
  Student student = lolcats::convert<Student>(job.teacher, options.seed);  // same weights, new attention
  measured("swapped", student);

  const Index updates = (job.train.size() + options.batch - 1) / options.batch;  // per epoch
  double transfer_speed = 0;
  if constexpr (lolcats::has_maps<typename Student::Attention>) {
    lolcats::TransferRecipe<> recipe;
    recipe.epochs = options.transfer_epochs;
    recipe.batch = options.batch;
    recipe.learning_rate = options.transfer_rate;
    recipe.seed = options.seed;
    recipe.evaluate_every = updates;
    recipe.checkpoint = state_file("transfer.state");
    recipe.checkpoint_every = out.empty() ? 0 : updates;
    if (recipe.epochs > 0) {
      const auto result = lolcats::transfer_attention(student, job.train, job.valid, recipe, print_progress());
      json["transferred"]["mse_per_layer"] = result.mse_per_layer;
      transfer_speed = result.tokens_per_second();
    }
  }
  measured("transferred", student);

  lolcats::FinetuneRecipe<> recipe;
  recipe.epochs = options.finetune_epochs;
  recipe.batch = options.batch;
  recipe.learning_rate = options.finetune_rate;
  recipe.seed = options.seed;
  recipe.evaluate_every = updates;
  recipe.checkpoint = state_file("finetune.state");
  recipe.checkpoint_every = out.empty() ? 0 : updates;
  double finetune_speed = 0;
  if (recipe.epochs > 0) {
    finetune_speed = lolcats::finetune(student, job.train, job.valid, recipe, print_progress()).tokens_per_second();
  }
  measured("finetuned", student);
  json["tokens_per_second"] = {{"transfer", transfer_speed}, {"finetune", finetune_speed}};

  // A continuation, from a state whose size does not depend on the length of the text.
  const auto& row = job.valid[0].tokens;
  const std::vector<Index> prompt(row.begin(), row.begin() + std::min<std::ptrdiff_t>(static_cast<std::ptrdiff_t>(row.size()), 64));
  const auto generation = lolcats::generate(student, {prompt}, {.max_tokens = 64});
  report.prompt = job.tokenizer->decode(prompt);
  std::vector<Index> whole = prompt;
  whole.insert(whole.end(), generation.tokens[0].begin(), generation.tokens[0].end());
  report.continuation = job.tokenizer->decode(whole).substr(report.prompt.size());
  report.state_bytes = generation.state_bytes;
  json["decoding_state_bytes"] = generation.state_bytes;

  if (!out.empty()) {
    lolcats::save_linearized(student, out, {{"student", Entry::name}, {"base_model", std::filesystem::absolute(options.model).string()}, {"tokenizer", std::filesystem::absolute(options.tokenizer).string()}});
    for (const char* name : {"transfer.state", "finetune.state"}) std::filesystem::remove(out / name);
  }
  return report;
}

}  // namespace examples
