"""Transformations of prompts: does a safe answer stay safe when the same request is asked in another form?"""
