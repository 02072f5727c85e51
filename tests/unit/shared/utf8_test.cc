#include "shared/utf8.h"

#include <gtest/gtest.h>

#include <string>

namespace membroker {
namespace {

TEST(CutText, LeavesWholeCharactersOnly) {
  EXPECT_EQ(cut_text("plain", 3), "pla");
  EXPECT_EQ(cut_text("plain", 5), "plain");
  EXPECT_EQ(cut_text("plain", 99), "plain");
  EXPECT_EQ(cut_text("", 3), "");
  EXPECT_EQ(cut_text("plain", 0), "");
  for (const std::string character : {"\u00fc", "\u20ac", "\U0001f600"}) {
    const std::string text = "a" + character + "b";
    for (std::size_t most = 1; most <= character.size(); ++most) {
      EXPECT_EQ(cut_text(text, most), "a") << character << " cut at " << most;
    }
    EXPECT_EQ(cut_text(text, 1 + character.size()), "a" + character);
    EXPECT_EQ(cut_text(text, 2 + character.size()), text);
  }
}

TEST(CutText, DropsAPartOfACharacterAtTheEndOfTheTextItself) {
  EXPECT_EQ(cut_text("a\xe2\x82", 99), "a");
  EXPECT_EQ(cut_text("\xf0\x9f", 99), "");
}

}  // namespace
}  // namespace membroker
