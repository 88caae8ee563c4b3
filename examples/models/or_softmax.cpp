// Students that keep the teacher's softmax in some layers.
#include "student_of.hpp"

namespace examples {

template std::unique_ptr<AnyModel> student_of<lolcats::zoo::Hedgehog8Terraced64OrSoftmax>(const Teacher&, std::uint64_t, const std::filesystem::path&);
template std::unique_ptr<AnyModel> student_of<lolcats::zoo::Hedgehog64Sinks4Terraced64OrSoftmax>(const Teacher&, std::uint64_t, const std::filesystem::path&);
template std::unique_ptr<AnyModel> student_of<lolcats::zoo::Sinks4Sliding124OrSoftmax>(const Teacher&, std::uint64_t, const std::filesystem::path&);
template std::unique_ptr<AnyModel> student_of<lolcats::zoo::Sinks4Sliding252OrSoftmax>(const Teacher&, std::uint64_t, const std::filesystem::path&);

}  // namespace examples
