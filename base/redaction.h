// Redaction: personal data and secrets in a text become placeholders before the text is stored or
// trained on: [EMAIL] [PHONE] [CARD] [IBAN] [IP] [KEY].
//
// What counts (checks, not only shapes, so that order numbers and dates survive):
//   EMAIL  local@domain.tld                     CARD   13-19 digits with Luhn's check digit
//   IBAN   two letters, two digits, mod 97 = 1  IP     v4 with octets <= 255, v6
//   PHONE  +<7-15 digits> or a national number of 10-15 digits with separators or brackets
//   KEY    well-known token prefixes (sk-, ghp_, xoxb-, AKIA.., AIza..), JWTs, "Bearer ...",
//          PEM private keys, password/token/secret = value, and 32+ mixed characters of high
//          entropy
// Bounded work: linear in the text, no regular expressions (a hostile text cannot stall ingest).
// Invalid UTF-8 passes through unchanged. Thread-safe.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace trimtab {

struct RedactionCounts {
  std::int64_t email = 0, phone = 0, card = 0, iban = 0, ip = 0, key = 0;
  [[nodiscard]] std::int64_t total() const { return email + phone + card + iban + ip + key; }
};

// `keep`: exact words that are left alone although they look like an identifier.
[[nodiscard]] std::string redact(std::string_view text, const std::vector<std::string>& keep = {},
                                 RedactionCounts* counts = nullptr);

}  // namespace trimtab
