"""An independent model of the clauses, written from their texts alone.

It imports nothing of `app`. `facts` is what a customer's history consists of; `columns`, `years`,
`charging` and `corrections` are the clauses; `purchases` and `cases` are the steps; `situation`,
`services` and `answers` answer a question about any instant; `player` plays a history of abstract
steps and shows what came of them.
"""
