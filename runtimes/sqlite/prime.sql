select 'ready';
