"""Long runs; the tests run short forms of them."""
