"""Comfort: answers that soothe a distressed patient and keep every clinical fact.

rewrites     rewrite_dialogues (steps of a dialogue) · writing (write, verify, retry) · emotions (which one)
teaches      dialogues (rewritten dialogues: hard negatives, preferences, the data set)
experiments  experiment (SFT, KTO and DPO on one data set) · joint_objective (comfort inside ``bedside align``)
judges       judges (how much an answer comforts; which emotion a message shows)
measures     metrics (comfort, knowledge) · human_ab (what people choose) · summary
"""
