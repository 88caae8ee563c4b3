// Code of the documentation that is in no program: compiled, and run by nobody.  documented.cmake compares the pages with it.
#pragma once

#include "all_headers.hpp"

namespace snippets {

using namespace lolcats;

// docs/memories.md
using Published = Hybrid<Hedgehog<64>, Terraced<64>>;                                 // Sum, unless another is named
using Fading = Hybrid<Hedgehog<64>, Sinks<4, Terraced<64>>, Decay<HeadGate>>;         // the sums forget
using Recalling = Softmax<Sinks<4, Sliding<124>>, Kept<384, LearnedScore>>;           // no sums: some keys stay raw
using LoLA = Hybrid<Hedgehog<64>, Terraced<64>, Kept<128, RecallError>>;              // both
using Correcting = Hybrid<Hedgehog<64>, Sinks<4, Terraced<64>>, DeltaRule<>>;         // what a key recalls is replaced

// Templates that nobody instantiates are checked and cost no code.

template <int>
void ablations_page(Llama<Cpu<float>>& teacher, const DataSet& train, const DataSet& valid, const Procedure& procedure) {
  const Ablation result = ablate<Variant<Hybrid<Hedgehog<8>, Terraced<64>>>,
                                 Variant<Hybrid<Hedgehog<8>, Sliding<16>>, Lora<4>>,
                                 Variant<Linear<T2R<16>>, Lora<8>, NoTransfer>>(teacher, train, valid, procedure, {.seeds = {0, 1, 2}});
  fmt::print("{}", table(result, {{"perplexity_transferred", "transferred"}, {"perplexity", "finetuned"}}));
}

template <int>
void data_page() {
  const auto tokenizer = open_tokenizer("SmolLM2-135M-Instruct");
  const DataSet train = open_text({"wiki.txt", "c4.jsonl", "alpaca.json", "chats.jsonl"}, *tokenizer,
                                  {.length = 1024, .cache = default_cache_folder()},
                                  [](const TextProgress& p) { fmt::print(stderr, "\r{}", to_string(p)); });
}

template <int>
void evaluation_page(const Tokenizer& tokenizer) {
  auto model = load_llama<Cpu<float>>("model.gguf");
  LanguageModelOf<Llama<Cpu<float>>> scored(model);
  const TaskSet tasks = load_tasks({.tasks = {"piqa"}, .data = "data"});
  const TaskReport report = run_tasks(scored, tokenizer, tasks);
  fmt::print("{}", report.table());
}

template <int>
void file_formats_page() {
  auto model = load_llama<Cpu<float>>("SmolLM2-135M-Instruct.Q4_1.gguf");      // like any other checkpoint
  const Gguf file("SmolLM2-135M-Instruct.Q4_1.gguf");                          // or by hand
  file.integer("llama.block_count");                                           // 30
  file.texts("tokenizer.ggml.tokens");                                         // 49152 strings
  file.read<float>("blk.0.attn_q.weight");                                     // (576, 576), decoded
}

template <int>
void adapters() {
  auto model = load_llama<Cpu<float>>("base");
  merge_adapter(model, std::filesystem::path("adapter"));  // W + scale B A, in double, rounded once
}

template <int>
void policies_page(const Llama<Cpu<float>>& teacher, std::uint64_t seed) {
  using Student = Llama<Cpu<float>, PerLayer<Softmax<>, Hybrid<Hedgehog<64>, Terraced<64>>>, Lora<8>>;
  auto student = convert<Student>(teacher, seed, {1, 1, 0, 1});  // layer 2 keeps its softmax
  student.choose_attention({1, 0, 0, 1});                        // and now layer 1, too; what stays keeps its maps
}

template <int>
void memories_page(const Llama<Cpu<float>>& teacher, const std::filesystem::path& folder) {
  using Plain = Llama<Cpu<float>, Hybrid<Hedgehog<64>, Terraced<64>>, Lora<8>>;
  using WithCache = Llama<Cpu<float>, Hybrid<Hedgehog<64>, Terraced<64>, Kept<512, RecallError>>, Lora<8>>;
  auto student = load_linearized<Plain>(teacher, folder);
  auto recalling = load_with_cache<WithCache>(teacher, folder);  // or convert<WithCache>(student)
}

#ifdef LOLCATS_WITH_MPI
template <class Student>
void scale_page(Student& student, const DataSet& train, const DataSet& valid) {
  lolcats::Mpi ranks;                                   // or Nccl; link lolcats::mpi or lolcats::nccl
  lolcats::FinetuneRecipe<> recipe{.batch = 16};
  recipe.communicator = &ranks;
  lolcats::finetune(student, train, valid, recipe);     // the same call on every rank
}
#endif

template <LlamaModel Student>
void scale_page_sharded(const LlamaConfig& config, const std::filesystem::path& path, Communicator& ranks, const DataSet& train,
                        const DataSet& valid, const FinetuneRecipe<>& recipe) {
  auto student = lolcats::without_weights<Student>(config);
  lolcats::StoredWeights<float> weights(lolcats::open_checkpoint(path));
  lolcats::shard_base(student, std::ref(weights), ranks);   // each rank keeps its part
  lolcats::finetune(student, train, valid, recipe);         // recipe.communicator is &ranks
}

template <LlamaModel Student>
void scale_page_blocks(const LlamaConfig& config, const std::filesystem::path& path, const DataSet& train, const DataSet& valid) {
  auto student = lolcats::without_weights<Student>(config);
  lolcats::StoredWeights<float> weights(lolcats::open_checkpoint(path));
  lolcats::transfer_blocks(student, std::ref(weights), train, valid, {.block = 4}, {.first = 3, .last = 6, .folder = "blocks"});
}

template <int>
void tokenizers_page(const std::filesystem::path& folder, const std::string& text, const std::vector<std::string>& texts, Index next,
                     void (*show)(std::string)) {
  const auto tokenizer = open_tokenizer(folder);                    // std::unique_ptr<Tokenizer>
  const auto ids = tokenizer->encode(text, tokenizer->adds_bos());
  const auto all = encode_all(*tokenizer, texts, false);            // tokenizer/parallel.hpp: on all cores
  StreamDecoder decoder(*tokenizer, ids.back());                    // tokenizer/stream.hpp: whole characters
  show(decoder.push(next));
}

}  // namespace snippets
