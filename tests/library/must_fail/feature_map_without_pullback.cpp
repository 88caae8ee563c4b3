// A map without its pullback could not be trained.
// expected: pullback
#include <lolcats/policy/attention.hpp>

using namespace lolcats;

struct Square : RowMap<4> {
  static std::string name() { return "square"; }
  template <class Row>
  static Features<Row, 1> features(const Row& z) {
    return {z * z};
  }
#ifndef MUST_FAIL
  template <class Row>
  static Row pullback(const Row& z, const Features<Row, 1>&, const Features<Row, 1>& dphi) {
    return dphi[0] * z * 2.0;
  }
#endif
};

using Attention = Linear<Square>;
