"""Numbers that papers print: what their tables say, to be looked at beside ours, never among them."""
