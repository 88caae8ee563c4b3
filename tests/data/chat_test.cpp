#include <doctest/doctest.h>
#include <lolcats/data/chat.hpp>

#include <string>

using namespace lolcats;  // tests only

namespace {

const Chat turns{{Role::User, " Hi there.\n"},
                 {Role::Assistant, "\nHello! "},
                 {Role::User, "Two\nlines?"},
                 {Role::Assistant, "Yes."}};
const Chat with_system{{Role::System, " Be brief. "}, {Role::User, "Hi"}, {Role::Assistant, "Ho"}};

std::string lay_out(std::string_view name, const Chat& chat, bool open = false) {
  return to_text(chat_template(name)(chat, open), "[bos]", "[eos]");
}

}  // namespace

// Strings that the published Jinja texts give, through transformers' environment of Jinja.
TEST_CASE("templates are those of the models") {
  const std::string turns_of_chatml =
      "<|im_start|>user\n Hi there.\n<|im_end|>\n<|im_start|>assistant\n\nHello! <|im_end|>\n"
      "<|im_start|>user\nTwo\nlines?<|im_end|>\n<|im_start|>assistant\nYes.<|im_end|>\n";
  const std::string system_of_chatml =
      "<|im_start|>system\n Be brief. "
      "<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHo<|im_end|>\n";
  CHECK(lay_out("chatml", turns) == turns_of_chatml);
  CHECK(lay_out("smollm2", turns) ==
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n" +
            turns_of_chatml);
  CHECK(lay_out("qwen2", turns) == "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n" + turns_of_chatml);
  CHECK(lay_out("qwen2.5", turns) ==
        "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n" +
            turns_of_chatml);
  for (const char* name : {"chatml", "smollm2", "qwen2", "qwen2.5"}) {
    CAPTURE(name);
    CHECK(lay_out(name, with_system) == system_of_chatml);
    CHECK(lay_out(name, with_system, true) == system_of_chatml + "<|im_start|>assistant\n");
  }

  const std::string turns_of_llama3 =
      "<|start_header_id|>user<|end_header_id|>\n\nHi there.<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
      "Hello!<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nTwo\nlines?<|eot_id|>"
      "<|start_header_id|>assistant<|end_header_id|>\n\nYes.<|eot_id|>";
  const std::string turn_of_llama3 =
      "Be brief.<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
      "<|start_header_id|>assistant<|end_header_id|>\n\nHo<|eot_id|>";
  const std::string head = "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\n",
                    dates = "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n",
                    open = "<|start_header_id|>assistant<|end_header_id|>\n\n";
  CHECK(lay_out("llama3", turns) == "<|begin_of_text|>" + turns_of_llama3);
  CHECK(lay_out("llama3", with_system) == head + turn_of_llama3);
  CHECK(lay_out("llama3", with_system, true) == head + turn_of_llama3 + open);
  CHECK(lay_out("llama3.1", turns) == head + dates + "<|eot_id|>" + turns_of_llama3);
  CHECK(lay_out("llama3.1", with_system) == head + dates + turn_of_llama3);
  CHECK(lay_out("llama3.1", with_system, true) == head + dates + turn_of_llama3 + open);

  CHECK(lay_out("llama2", turns) == "<s>[INST] Hi there. [/INST] Hello! </s><s>[INST] Two\nlines? [/INST] Yes. </s>");
  CHECK(lay_out("llama2", with_system) == "<s>[INST] <<SYS>>\n Be brief. \n<</SYS>>\n\nHi [/INST] Ho </s>");

  const Chat twice{{Role::User, "Add."}, {Role::Assistant, "3"}, {Role::User, "More."}, {Role::Assistant, "4"}};
  CHECK(lay_out("alpaca", twice) ==
        "[bos]" + alpaca_prompt("Add.") + "3[eos][bos]" + alpaca_prompt("More.") + "4[eos]");
}

TEST_CASE("every answer is supervised with the token that ends it, and nothing else") {
  for (const ChatTemplate& form : chat_templates) {
    CAPTURE(form.name);
    std::string answers;
    for (const ChatPiece& piece : form(turns))
      if (piece.answer) answers += (piece.kind == ChatPiece::Kind::End ? "[eos]" : piece.text) + "|";
    const bool chatml = form(turns)[0].text == "<|im_start|>";
    CHECK(answers == (chatml                  ? "\nHello! |<|im_end|>|Yes.|<|im_end|>|"
                      : form.name == "llama2" ? " Hello! |</s>| Yes. |</s>|"
                      : form.name == "alpaca" ? "\nHello! |[eos]|Yes.|[eos]|"
                                              : "Hello!|<|eot_id|>|Yes.|<|eot_id|>|"));
  }
}

TEST_CASE("chats that a template has no place for are refused") {
  CHECK_THROWS_WITH_AS(lay_out("llama2", {{Role::User, "a"}, {Role::User, "b"}}),
                       "template llama2: message 1 is of role user, expected assistant", DataError);
  CHECK_THROWS_AS(lay_out("llama2", {{Role::Assistant, "a"}}), DataError);
  CHECK_THROWS_AS(lay_out("llama2", {{Role::System, "a"}}), DataError);
  CHECK_THROWS_AS(lay_out("alpaca", with_system), DataError);
  CHECK_THROWS_WITH_AS(
      chat_template("vicuna"),
      "chat template 'vicuna' is not known, expected one of alpaca, chatml, smollm2, qwen2, qwen2.5, llama2, llama3, "
      "llama3.1",
      ConfigError);
}

TEST_CASE("a model's own text tells which template it is") {
  const auto name = [](std::string_view jinja) -> std::string_view {
    const auto form = recognise_chat_template(jinja);
    return form ? form->name : "none";
  };
  const std::string loop = "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n'}}{% endfor %}";
  CHECK(name(loop) == "chatml");
  CHECK(name("{{ '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}" + loop) == "qwen2");
  CHECK(name("{{ '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n' }}" + loop) == "qwen2");
  CHECK(name("You are Qwen, created by Alibaba Cloud. You are a helpful assistant." + loop) == "qwen2.5");
  CHECK(name("You are a helpful AI assistant named SmolLM, trained by Hugging Face" + loop) == "smollm2");
  CHECK(name("You are Hermes." + loop) == "none");
  CHECK(name(loop + "<think>") == "none");
  CHECK(name("<|start_header_id|>") == "llama3");
  CHECK(name("<|start_header_id|> Cutting Knowledge Date: December 2023") == "llama3.1");
  CHECK(name("[INST] <<SYS>>") == "llama2");
  CHECK(name("[INST]") == "none");  // Mistral's
  CHECK(name("### Instruction:") == "alpaca");
  CHECK(name("") == "none");
}
