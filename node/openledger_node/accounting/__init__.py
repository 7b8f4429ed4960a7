"""Accounting: queries about money, and plans of transactions, over one ledger and one chain.

queries, earnings, money trail, attribution report, receipt check, publishing, transactions.
"""
