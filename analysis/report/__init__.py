"""One self-contained HTML file of a study: tables, statistics and figures that the other parts make, with what is to be known beside them."""
