"""Reports as pages: charts, tables and pictures in one HTML file that needs no network and no JavaScript."""
