// Students by name: methods that programs offer on their command line.
#pragma once

#include <lolcats/model/llama.hpp>
#include <lolcats/policy/feature_map/hedgehog.hpp>
#include <lolcats/policy/feature_map/relu.hpp>

#include <string>
#include <string_view>
#include <vector>

namespace lolcats {

/// A named method: an attention and an adapter, for any backend.
///
/// Each entry is a type of its own, so that a program can compile each in its own unit: declare
/// `template <class Method> Report run(const Options&);`, define and instantiate it in the unit of one entry, and let
/// `visit_student` call it.
template <ModelAttention A, AdapterPolicy P = Lora<8>>
struct Method {
  using Attention = A;
  using Adapter = P;
  template <Backend B>
  using Model = Llama<B, A, P>;
};

namespace zoo {

// For heads of 8.
struct Hedgehog8Linear : Method<Linear<Hedgehog<8>>> {
  static constexpr std::string_view name = "hedgehog8-linear";
};
struct Hedgehog8Sliding16 : Method<Hybrid<Hedgehog<8>, Sliding<16>>> {
  static constexpr std::string_view name = "hedgehog8-sliding16";
};
struct Hedgehog8Terraced64 : Method<Hybrid<Hedgehog<8>, Terraced<64>>> {
  static constexpr std::string_view name = "hedgehog8-terraced64";
};
struct T2R16Linear : Method<Linear<T2R<16>>> {
  static constexpr std::string_view name = "t2r16-linear";
};
struct T2R16Terraced64 : Method<Hybrid<T2R<16>, Terraced<64>>> {
  static constexpr std::string_view name = "t2r16-terraced64";
};

// For heads of 64 and 128.
struct Hedgehog64Linear : Method<Linear<Hedgehog<64>>> {
  static constexpr std::string_view name = "hedgehog64-linear";
};
struct Hedgehog64Terraced64 : Method<Hybrid<Hedgehog<64>, Terraced<64>>> {
  static constexpr std::string_view name = "hedgehog64-terraced64";
};
struct Hedgehog64Sliding64 : Method<Hybrid<Hedgehog<64>, Sliding<64>>> {
  static constexpr std::string_view name = "hedgehog64-sliding64";
};
struct T2R128Linear : Method<Linear<T2R<128>>> {
  static constexpr std::string_view name = "t2r128-linear";
};
struct T2R128Terraced64 : Method<Hybrid<T2R<128>, Terraced<64>>> {
  static constexpr std::string_view name = "t2r128-terraced64";
};

// Controls, each with the same adapter: the teacher's own attention, and windows without a linear part.
struct SoftmaxControl : Method<Softmax<>> {
  static constexpr std::string_view name = "softmax";
};
struct WindowTerraced64 : Method<Softmax<Terraced<64>>> {
  static constexpr std::string_view name = "window-terraced64";
};
struct WindowSliding128 : Method<Softmax<Sliding<128>>> {
  static constexpr std::string_view name = "window-sliding128";
};

// Windows with attention sinks, alone and beside far keys; far keys that a cache keeps, that fade, or that are corrected.
struct Sinks4Sliding60 : Method<Softmax<Sinks<4, Sliding<60>>>> {
  static constexpr std::string_view name = "sinks4-sliding60";
};
struct Sinks4Sliding124 : Method<Softmax<Sinks<4, Sliding<124>>>> {
  static constexpr std::string_view name = "sinks4-sliding124";
};
struct Sinks4Sliding252 : Method<Softmax<Sinks<4, Sliding<252>>>> {
  static constexpr std::string_view name = "sinks4-sliding252";
};
struct Sinks4Sliding508 : Method<Softmax<Sinks<4, Sliding<508>>>> {
  static constexpr std::string_view name = "sinks4-sliding508";
};
struct Sinks4Sliding124Kept384 : Method<Softmax<Sinks<4, Sliding<124>>, Kept<384, LearnedScore>>> {
  static constexpr std::string_view name = "sinks4-sliding124-kept384";
};
struct Sinks4Sliding124Kept1920 : Method<Softmax<Sinks<4, Sliding<124>>, Kept<1920, LearnedScore>>> {  // all of 2,048 tokens
  static constexpr std::string_view name = "sinks4-sliding124-kept1920";
};
struct Sinks4Sliding92Kept1920 : Method<Softmax<Sinks<4, Sliding<92>>, Kept<1920, LearnedScore>>> {
  static constexpr std::string_view name = "sinks4-sliding92-kept1920";
};
struct Sinks4Sliding44Kept1920 : Method<Softmax<Sinks<4, Sliding<44>>, Kept<1920, LearnedScore>>> {
  static constexpr std::string_view name = "sinks4-sliding44-kept1920";
};
struct Hedgehog64Sinks4Terraced64 : Method<Hybrid<Hedgehog<64>, Sinks<4, Terraced<64>>>> {
  static constexpr std::string_view name = "hedgehog64-sinks4-terraced64";
};
struct Hedgehog64Sinks4Terraced64Decay : Method<Hybrid<Hedgehog<64>, Sinks<4, Terraced<64>>, Decay<HeadGate>>> {
  static constexpr std::string_view name = "hedgehog64-sinks4-terraced64-decay";
};
struct Hedgehog64Sinks4Terraced64Delta : Method<Hybrid<Hedgehog<64>, Sinks<4, Terraced<64>>, DeltaRule<>>> {
  static constexpr std::string_view name = "hedgehog64-sinks4-terraced64-delta";
};

// A LoLCATs student and a cache that it is trained without or with, as LoLA's.
struct Hedgehog8Terraced64Kept128 : Method<Hybrid<Hedgehog<8>, Terraced<64>, Kept<128, RecallError>>> {
  static constexpr std::string_view name = "hedgehog8-terraced64-kept128";
};
struct Hedgehog64Terraced64Kept512 : Method<Hybrid<Hedgehog<64>, Terraced<64>, Kept<512, RecallError>>> {
  static constexpr std::string_view name = "hedgehog64-terraced64-kept512";
};

// Layers that have either the student's attention or the teacher's softmax; all have the student's at first.
struct Hedgehog8Terraced64OrSoftmax : Method<PerLayer<Softmax<>, Hybrid<Hedgehog<8>, Terraced<64>>>> {
  static constexpr std::string_view name = "hedgehog8-terraced64-or-softmax";
};
struct Hedgehog64Sinks4Terraced64OrSoftmax : Method<PerLayer<Softmax<>, Hybrid<Hedgehog<64>, Sinks<4, Terraced<64>>>>> {
  static constexpr std::string_view name = "hedgehog64-sinks4-terraced64-or-softmax";
};
struct Sinks4Sliding124OrSoftmax : Method<PerLayer<Softmax<>, Softmax<Sinks<4, Sliding<124>>>>> {
  static constexpr std::string_view name = "sinks4-sliding124-or-softmax";
};
struct Sinks4Sliding252OrSoftmax : Method<PerLayer<Softmax<>, Softmax<Sinks<4, Sliding<252>>>>> {
  static constexpr std::string_view name = "sinks4-sliding252-or-softmax";
};

}  // namespace zoo

template <class... Methods>
struct MethodList {};

using Zoo = MethodList<zoo::Hedgehog8Linear, zoo::Hedgehog8Sliding16, zoo::Hedgehog8Terraced64, zoo::T2R16Linear,
                       zoo::T2R16Terraced64, zoo::Hedgehog64Linear, zoo::Hedgehog64Terraced64, zoo::Hedgehog64Sliding64,
                       zoo::T2R128Linear, zoo::T2R128Terraced64, zoo::SoftmaxControl, zoo::WindowTerraced64,
                       zoo::WindowSliding128, zoo::Sinks4Sliding60, zoo::Sinks4Sliding124, zoo::Sinks4Sliding252, zoo::Sinks4Sliding508,
                       zoo::Sinks4Sliding124Kept384, zoo::Sinks4Sliding124Kept1920, zoo::Sinks4Sliding92Kept1920, zoo::Sinks4Sliding44Kept1920,
                       zoo::Hedgehog64Sinks4Terraced64, zoo::Hedgehog64Sinks4Terraced64Decay, zoo::Hedgehog64Sinks4Terraced64Delta,
                       zoo::Hedgehog8Terraced64Kept128, zoo::Hedgehog64Terraced64Kept512, zoo::Hedgehog8Terraced64OrSoftmax, zoo::Hedgehog64Sinks4Terraced64OrSoftmax,
                       zoo::Sinks4Sliding124OrSoftmax, zoo::Sinks4Sliding252OrSoftmax>;

/// The names of a list, in its order.
template <class... Methods>
std::vector<std::string> student_names(MethodList<Methods...> = Zoo{}) {
  return {std::string(Methods::name)...};
}
inline std::vector<std::string> student_names() { return student_names(Zoo{}); }

/// f(entry) for the entry called `name`; f takes each entry by value and returns nothing.
/// Throws ConfigError listing the known names.
template <class F, class... Methods>
void visit_student(std::string_view name, F&& f, MethodList<Methods...> list) {
  const bool found = ((Methods::name == name && (f(Methods{}), true)) || ...);
  require<ConfigError>(found, "student '{}' is unknown, expected one of {}", name,
                       fmt::join(student_names(list), ", "));
}
template <class F>
void visit_student(std::string_view name, F&& f) {
  visit_student(name, std::forward<F>(f), Zoo{});
}

/// The same, by what a checkpoint calls its method: `Attention::name()` (io/method.hpp, stored_method).
template <class F, class... Methods>
void visit_method(std::string_view method, F&& f, MethodList<Methods...>) {
  const bool found = ((Methods::Attention::name() == method && (f(Methods{}), true)) || ...);
  require<ConfigError>(found, "method '{}' is unknown, expected one of {}", method,
                       fmt::join(std::vector<std::string>{Methods::Attention::name()...}, "; "));
}
template <class F>
void visit_method(std::string_view method, F&& f) {
  visit_method(method, std::forward<F>(f), Zoo{});
}

}  // namespace lolcats
