ByJ0QÒpA B¶jÂüG£ÂZ\…Á[/ÞA¯áªBcY£Âej/Áï
vA]ò´Á	+…Â