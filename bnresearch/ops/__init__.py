"""Operations on arrays that norms and models are made of.

A fast form is equal to its plain form, and tested so.
"""
