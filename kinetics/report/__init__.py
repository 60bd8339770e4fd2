"""Result files as one HTML page that needs nothing but itself: no server, no network, no second file."""
