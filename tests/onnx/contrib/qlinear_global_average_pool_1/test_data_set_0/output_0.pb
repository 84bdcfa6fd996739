ByJ
…y‰…xdfy_m