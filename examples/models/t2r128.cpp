// T2R students for heads of 128.
#include "student_of.hpp"

namespace examples {

template std::unique_ptr<AnyModel> student_of<lolcats::zoo::T2R128Linear>(const Teacher&, std::uint64_t, const std::filesystem::path&);
template std::unique_ptr<AnyModel> student_of<lolcats::zoo::T2R128Terraced64>(const Teacher&, std::uint64_t, const std::filesystem::path&);

}  // namespace examples
