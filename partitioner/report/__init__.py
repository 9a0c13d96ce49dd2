"""Profiles and plans as people look at them: figures (``figures``) and one page to explore (``page``).

``shown`` gathers the numbers; what draws them computes none.
"""
