module goservice

go 1.24

require example.org/slug v0.1.0
