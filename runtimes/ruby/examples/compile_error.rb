puts 'before'
number = (1 +
end
