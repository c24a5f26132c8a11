"""The animated picture of a trace: data and layout (pure Python), drawing module, charts, page."""
