"""A dashboard of one number."""

import streamlit

streamlit.title("Measurements")
streamlit.metric("answer", 6 * 7)
