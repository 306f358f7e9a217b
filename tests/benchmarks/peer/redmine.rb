# What a new Redmine needs before a case can be opened, beside its default data.
Setting.rest_api_enabled = '1'
Setting.default_language = 'en'
admin = User.find_by!(login: 'admin')
admin.update_columns(must_change_passwd: false, language: 'en')
Token.create!(user: admin, action: 'api').update_columns(value: ENV.fetch('BENCHMARK_API_KEY'))
TimeEntryActivity.first.update!(is_default: true)
Project.create!(
  name: 'Support', identifier: 'support',
  enabled_module_names: %w[issue_tracking time_tracking], trackers: Tracker.all.to_a
)
