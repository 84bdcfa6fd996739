ByJ
‰xmgeif„o