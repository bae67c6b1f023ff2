"""Comfort: answers that soothe a distressed patient and keep every clinical fact.

rewrites     rewrite_dialogues (steps of a dialogue) · writing (write, verify, retry) · feelings (which emotion)
verifies     verification (faults of a rewrite)
teaches      dialogue_preferences (rewritten dialogues) · warm_preferences (answers of an alignment cycle)
experiments  experiment (SFT, KTO and DPO on one data set) · joint_objective (comfort inside ``bedside align``)
judges       empathy_judge · emotion_classifier
measures     comfort_metrics · knowledge_metrics · sycophancy · human_ab · summary
files        dialogue_files (the data set) · ab_pack (what people fill in)
"""
