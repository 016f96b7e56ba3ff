"""Boxes: their geometry, how well they overlap, and how those predicted become answers (Appendix A). Without torch."""
