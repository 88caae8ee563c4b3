// The keys of a config.json that cannot change what a model computes.
#pragma once

#include <algorithm>
#include <iterator>
#include <string_view>

namespace lolcats::detail {

// clang-format off
/// Sorted.  Each of them, whatever its value, leaves the logits of a given sequence as they are:
inline constexpr std::string_view idle_config_keys[] = {
    // Where the model comes from, and which classes and programs wrote it; what its tokenizer is called.
    // How numbers are stored (the tensors say so themselves), which kernel computes them, what is kept or returned.
    // What acts in training only: dropout, noise, initial values, losses of classifiers.
    // Defaults of samplers and lengths; padding and other tokens that a caller puts in.
    "_attn_implementation", "_attn_implementation_autoset", "_attn_implementation_internal", "_commit_hash",
    "_flash_attn_2_enabled", "_name_or_path", "architectures", "attention_dropout", "attn_implementation",
    "bad_words_ids", "begin_suppress_tokens", "chunk_size_feed_forward", "classifier_dropout", "cls_token_id",
    "custom_pipelines", "decoder_start_token_id", "diversity_penalty", "do_sample", "dtype", "early_stopping",
    "embd_pdrop", "encoder_no_repeat_ngram_size", "exponential_decay_length_penalty", "finetuning_task",
    "forced_bos_token_id", "forced_eos_token_id", "gradient_checkpointing", "hidden_dropout", "id2label",
    "initializer_range", "is_decoder", "is_llama_config", "label2id", "length_penalty", "mask_token_id", "max_length",
    "max_sequence_length", "min_length", "model_max_length", "neftune_noise_alpha", "no_repeat_ngram_size",
    "num_beam_groups", "num_beams", "num_return_sequences", "output_attentions", "output_hidden_states",
    "output_scores", "pad_token_id", "prefix", "pretraining_tp", "problem_type", "processor_class", "remove_invalid_values",
    "repetition_penalty", "resid_pdrop", "return_dict", "return_dict_in_generate", "sep_token_id", "suppress_tokens",
    "task_specific_params", "temperature", "tf_legacy_loss", "tokenizer_class", "top_k", "top_p", "torch_dtype",
    "torchscript", "transformers_version", "typical_p", "unk_token_id", "use_bfloat16", "use_cache",
    "use_flash_attention_2"};
// clang-format on
static_assert(std::is_sorted(std::begin(idle_config_keys), std::end(idle_config_keys)));

/// Is `key` one of them, or one of a family of programs' own notes (Unsloth, transformers.js)?
inline bool is_idle_config_key(std::string_view key) {
  return std::binary_search(std::begin(idle_config_keys), std::end(idle_config_keys), key) ||
         key.starts_with("unsloth_") || key.starts_with("transformers.js_");
}

/// A number that says "as if this key were not there".
struct NeutralKey {
  std::string_view key;
  double value;
};
inline constexpr NeutralKey neutral_config_keys[] = {{"embedding_multiplier", 1},  {"logit_scale", 1},
                                                     {"logits_scaling", 1},        {"num_nextn_predict_layers", 0},
                                                     {"partial_rotary_factor", 1}, {"residual_multiplier", 1}};

inline bool is_neutral_config_value(std::string_view key, double value) {
  return std::any_of(std::begin(neutral_config_keys), std::end(neutral_config_keys),
                     [&](const NeutralKey& neutral) { return neutral.key == key && neutral.value == value; });
}

}  // namespace lolcats::detail
