"""From converted sets to what is trained and tested on: cleaned masks, splits by case, merged lists.

`make.make_lists` is the whole; `clean`, `groups` and `assign` are its rules, `write` its files. The converted
sets stay as they are.
"""
