"""Reads what a judge decided out of its reply.

From the outside in: `thoughts` finds where the answer begins, `quotation` which of its words are those of what was judged,
`lines`, `marks` and `objects` what states a verdict, and `prose` what a reply without a statement says in a sentence. `offer`
knows the verdicts, `headings` the words that announce one, `markup` what is laid around them, and `spelling` makes one of many
ways to write the same.
"""
